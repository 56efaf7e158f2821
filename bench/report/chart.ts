// Bar charts as SVG.

export interface Bar {
  readonly label: string
  readonly value: number
  readonly text: string
  /** Whether it is one of ours. */
  readonly ours: boolean
}

export interface Chart {
  readonly title: string
  readonly subtitle: string
  readonly groups: ReadonlyArray<{ readonly name: string; readonly bars: ReadonlyArray<Bar> }>
}

const width = 720
const labelWidth = 110
const valueWidth = 90
const barHeight = 15
const rowHeight = 19
const groupGap = 34
const top = 62

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

/** All bars of a group begin at the same line; the longest of each group takes all of the width. */
export const svg = ({ groups, subtitle, title }: Chart): string => {
  const parts: Array<string> = []
  let y = top
  for (const { bars, name } of groups) {
    parts.push(`<text x="0" y="${y}" class="group">${escaped(name)}</text>`)
    y += 8
    const most = Math.max(...bars.map(({ value }) => value))
    for (const { label, ours, text, value } of bars) {
      const length = Math.max(1, ((width - labelWidth - valueWidth) * value) / most)
      const middle = y + barHeight - 3
      parts.push(
        `<text x="${labelWidth - 8}" y="${middle}" text-anchor="end">${escaped(label)}</text>`,
        `<rect x="${labelWidth}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" class="${ours ? "ours" : "other"}"/>`,
        `<text x="${(labelWidth + length + 6).toFixed(1)}" y="${middle}">${escaped(text)}</text>`
      )
      y += rowHeight
    }
    y += groupGap
  }
  const height = y - groupGap + 12
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 0 ${width + 24} ${height}" width="${width + 24}" height="${height}" role="img">
<title>${escaped(title)}</title>
<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.group { font-weight: 600 }
.ours { fill: #2563eb }
.other { fill: #9ca3af }
</style>
<rect x="-12" width="${width + 24}" height="${height}" fill="#ffffff"/>
<text x="0" y="22" class="title">${escaped(title)}</text>
<text x="0" y="40">${escaped(subtitle)}</text>
${parts.join("\n")}
</svg>
`
}
