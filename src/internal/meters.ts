// How the metrics are written.

import * as MetricLabel from "effect/MetricLabel"
import type { Role } from "../protocol/frame.js"
import * as Metrics from "../WebSocketMetrics.js"
import type { Meter } from "./backlog.js"

/** What is counted of connections as a whole, beside their traffic. */
export interface ConnectionMeter extends Meter {
  readonly opened: () => void
  readonly closed: (code: number) => void
  readonly latency: (milliseconds: number) => void
}

// Without labels of its own, an update needs no look-up.
const nothing: ReadonlyArray<MetricLabel.MetricLabel> = []

const meter = (metrics: Metrics.ConnectionMetrics): ConnectionMeter => ({
  received(messages, bytes) {
    metrics.messagesReceived.unsafeUpdate(messages, nothing)
    metrics.bytesReceived.unsafeUpdate(bytes, nothing)
  },
  sent(messages, bytes) {
    metrics.messagesSent.unsafeUpdate(messages, nothing)
    metrics.bytesSent.unsafeUpdate(bytes, nothing)
  },
  queued: (change) => metrics.sendQueue.unsafeModify(change, nothing),
  caughtUp: (peak) => metrics.sendQueuePeak.unsafeUpdate(peak, nothing),
  opened() {
    metrics.connectionsOpen.unsafeModify(1, nothing)
    metrics.connectionsOpened.unsafeUpdate(1, nothing)
  },
  closed(code) {
    metrics.connectionsOpen.unsafeModify(-1, nothing)
    metrics.connectionsClosed.unsafeUpdate(1, labelsOf(code))
  },
  latency: (milliseconds) => metrics.pingLatency.unsafeUpdate(milliseconds / 1000, nothing)
})

export const meters: { readonly [role in Role]: ConnectionMeter } = {
  client: meter(Metrics.client),
  server: meter(Metrics.server)
}

const labels = new Map<string, ReadonlyArray<MetricLabel.MetricLabel>>()

/** The same array for the same code: Effect finds what it counts by that, where otherwise it looks it up by its contents. */
const labelsOf = (code: number): ReadonlyArray<MetricLabel.MetricLabel> => {
  // The codes of applications are theirs to choose, thousands of them: a metric for each would be a peer's to fill.
  const name = code < 3000 ? String(code) : `${Math.floor(code / 1000)}xxx`
  const known = labels.get(name) ?? [MetricLabel.make("code", name)]
  labels.set(name, known)
  return known
}

/** A refused opening handshake; `aborted` if the client went before it could be answered. */
export const refused = (status: number | undefined): void =>
  Metrics.server.handshakesRefused.unsafeUpdate(1, [MetricLabel.make("status", String(status ?? "aborted"))])
