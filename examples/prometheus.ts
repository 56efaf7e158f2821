// All metrics of the process in the text format of Prometheus.

import { Effect, Metric, type MetricKey, type MetricPair, MetricState, Option } from "effect"

/** What `Content-Type` calls it. */
export const contentType = "text/plain; version=0.0.4; charset=utf-8"

type Labels = ReadonlyArray<readonly [name: string, value: string]>

const nameOf = (name: string): string => name.replaceAll(/[^a-zA-Z0-9_:]/g, "_").replace(/^(?=\d)/, "_")

const escaped = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")

const labelsOf = (labels: Labels): string =>
  labels.length === 0
    ? ""
    : `{${labels.map(([name, value]) => `${nameOf(name)}="${escaped(value).replaceAll('"', '\\"')}"`).join(",")}}`

const numberOf = (value: number | bigint): string =>
  value === Number.POSITIVE_INFINITY ? "+Inf" : value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value)

interface Samples {
  readonly type: string
  readonly lines: ReadonlyArray<string>
}

const samplesOf = (name: string, key: MetricKey.MetricKey.Untyped, state: unknown): Samples => {
  const labels: Labels = Array.from(key.tags, (tag) => [tag.key, tag.value] as const)
  const line = (suffix: string, value: number | bigint, more: Labels = []) =>
    `${name}${suffix}${labelsOf([...labels, ...more])} ${numberOf(value)}`
  if (MetricState.isCounterState(state)) return { type: "counter", lines: [line("", state.count)] }
  if (MetricState.isGaugeState(state)) return { type: "gauge", lines: [line("", state.value)] }
  if (MetricState.isFrequencyState(state)) {
    return {
      type: "counter",
      lines: Array.from(state.occurrences, ([value, count]) => line("", count, [["value", value]]))
    }
  }
  if (MetricState.isHistogramState(state)) {
    const buckets = state.buckets.filter(([boundary]) => boundary !== Number.POSITIVE_INFINITY)
    return {
      type: "histogram",
      lines: [
        ...buckets.map(([boundary, count]) => line("_bucket", count, [["le", numberOf(boundary)]])),
        line("_bucket", state.count, [["le", "+Inf"]]),
        line("_sum", state.sum),
        line("_count", state.count)
      ]
    }
  }
  if (MetricState.isSummaryState(state)) {
    return {
      type: "summary",
      lines: [
        ...state.quantiles.map(([quantile, value]) =>
          line(
            "",
            Option.getOrElse(value, () => Number.NaN),
            [["quantile", numberOf(quantile)]]
          )
        ),
        line("_sum", state.sum),
        line("_count", state.count)
      ]
    }
  }
  return { type: "untyped", lines: [] }
}

const format = (pairs: ReadonlyArray<MetricPair.MetricPair.Untyped>): string => {
  // All samples of a name stand together, below what is said of it once.
  const families = new Map<string, Array<string>>()
  for (const { metricKey, metricState } of pairs) {
    const name = nameOf(metricKey.name)
    const { lines, type } = samplesOf(name, metricKey, metricState)
    const help = Option.map(metricKey.description, (text) => `# HELP ${name} ${escaped(text)}`)
    const family = families.get(name) ?? [...Option.toArray(help), `# TYPE ${name} ${type}`]
    families.set(name, [...family, ...lines])
  }
  return Array.from(families.values(), (family) => `${family.join("\n")}\n`).join("")
}

/** What `/metrics` answers. */
export const metrics: Effect.Effect<string> = Effect.map(Metric.snapshot, format)
