// Lines over time as SVG, in colours that show on light and dark ground.

export interface Line {
  readonly label: string
  readonly colour: string
  /** Seconds and value. */
  readonly points: ReadonlyArray<readonly [number, number]>
}

export interface Panel {
  readonly title: string
  readonly lines: ReadonlyArray<Line>
}

const width = 720
const left = 56
const right = 120
const height = 130
const gap = 50
const top = 40

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

/** The next 1, 2 or 5 times a power of ten. */
const rounded = (value: number): number => {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)))
  return power * (([1, 2, 5].find((step) => step * power >= value) ?? 10) || 1)
}

/** One panel below the other, over the same time. `marks` are moments that have a name. */
export const svg = (
  title: string,
  panels: ReadonlyArray<Panel>,
  marks: ReadonlyArray<readonly [number, string]>
): string => {
  const times = panels.flatMap(({ lines }) => lines.flatMap(({ points }) => points.map(([time]) => time)))
  const end = Math.max(1, ...times)
  const x = (time: number) => left + ((width - left - right) * time) / end
  const parts: Array<string> = []
  let y = top
  for (const { lines, title: name } of panels) {
    const bottom = y + height
    const most = rounded(Math.max(...lines.flatMap(({ points }) => points.map(([, value]) => value))))
    const yOf = (value: number) => bottom - (height * value) / most
    parts.push(`<text x="${left}" y="${y - 8}" class="strong">${escaped(name)}</text>`)
    for (const share of [0, 0.5, 1]) {
      const at = yOf(most * share).toFixed(1)
      parts.push(
        `<path d="M${left} ${at}H${width - right}" class="grid"/>`,
        `<text x="${left - 6}" y="${Number(at) + 4}" text-anchor="end">${most * share}</text>`
      )
    }
    for (const [time] of marks) parts.push(`<path d="M${x(time).toFixed(1)} ${y}V${bottom}" class="mark"/>`)
    lines.forEach(({ colour, label, points }, index) => {
      const path = points.map(([time, value]) => `${x(time).toFixed(1)} ${yOf(value).toFixed(1)}`).join("L")
      parts.push(
        `<path d="M${path}" stroke="${colour}" class="line"/>`,
        `<text x="${width - right + 8}" y="${y + 12 + 18 * index}" style="fill:${colour}">${escaped(label)}</text>`
      )
    })
    y = bottom + gap
  }
  for (const [time, name] of marks) {
    parts.push(
      `<text x="${x(time).toFixed(1)}" y="${y - gap + 16}" text-anchor="middle">${escaped(name)}, ${Math.round(time)} s</text>`
    )
  }
  const total = y - gap + 28
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${total}" width="${width}" height="${total}" role="img">
<title>${escaped(title)}</title>
<style>
text { font: 12px system-ui, sans-serif; fill: #808080 }
.strong { font-weight: 600 }
.grid { stroke: #808080; stroke-opacity: 0.3 }
.mark { stroke: #808080; stroke-dasharray: 3 3 }
.line { fill: none; stroke-width: 1.5 }
</style>
${parts.join("\n")}
</svg>
`
}
