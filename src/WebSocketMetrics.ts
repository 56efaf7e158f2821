/**
 * What is counted of all connections of the process, as Effect metrics.
 *
 * They are always on: counting is a few additions for each read and each write of a
 * socket. Read them with `Metric.value`, `Metric.snapshot`, or whatever exporter the
 * application has. Each has the label `role`, `client` or `server`: this side's.
 *
 * @example
 * ```ts
 * import { Effect, Metric } from "effect"
 * import { WebSocketMetrics } from "effect-websocket"
 *
 * const visitors = Effect.map(Metric.value(WebSocketMetrics.server.connectionsOpen), ({ value }) => value)
 *
 * const closedWith1011 = Metric.value(Metric.tagged(WebSocketMetrics.server.connectionsClosed, "code", "1011"))
 * ```
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"

/**
 * The metrics of one role.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectionMetrics {
  /** `websocket_connections_open`: connections that are open now. */
  readonly connectionsOpen: Metric.Metric.Gauge<number>
  /** `websocket_connections_opened_total`: opening handshakes that succeeded. */
  readonly connectionsOpened: Metric.Metric.Counter<number>
  /**
   * `websocket_connections_closed_total`: connections that ended, by the label `code`: what the
   * peer's Close frame said (1005 without a code), 1006 if there was none, or the code that
   * the connection was failed with if the peer broke a rule. Codes of applications are counted
   * together, as `3xxx` and `4xxx`, for a peer chooses among thousands of them.
   */
  readonly connectionsClosed: Metric.Metric.Counter<number>
  /** `websocket_messages_received_total`: whole messages, control frames aside. */
  readonly messagesReceived: Metric.Metric.Counter<number>
  /** `websocket_messages_sent_total`: whole messages, control frames aside. */
  readonly messagesSent: Metric.Metric.Counter<number>
  /**
   * `websocket_received_bytes_total`: all that was read after the opening handshake: headers,
   * compressed payloads as they are, and control frames; what TLS adds is not counted.
   */
  readonly bytesReceived: Metric.Metric.Counter<number>
  /** `websocket_sent_bytes_total`: all that was written after the opening handshake, as `bytesReceived`. */
  readonly bytesSent: Metric.Metric.Counter<number>
  /**
   * `websocket_send_queue_bytes`: bytes that wait now for peers that read too slowly, of all
   * connections together, each as of the last time that something was sent on it. It is memory.
   */
  readonly sendQueue: Metric.Metric.Gauge<number>
  /**
   * `websocket_send_queue_peak_bytes`: how many bytes waited at the most, each time that a peer
   * read too slowly: counted once it has caught up, or is gone.
   */
  readonly sendQueuePeak: Metric.Metric.Histogram<number>
  /** `websocket_ping_duration_seconds`: from a ping to its pong, those of the heartbeat and of `socket.ping`. */
  readonly pingLatency: Metric.Metric.Histogram<number>
}

/**
 * The metrics of servers, routes of HTTP servers and `WebSocket.accept` included.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerMetrics extends ConnectionMetrics {
  /**
   * `websocket_handshakes_refused_total`: requests that were refused, by the label `status` that
   * they were answered with: 400 for a malformed one, 403 for its origin, 404 for its path, 408
   * for its slowness, 429 for its address, 431 for its size, 503 for want of room, what the
   * application decided; `aborted` where none was answered.
   */
  readonly handshakesRefused: Metric.Metric.Counter<number>
}

// The label is part of each key: a metric that is tagged afterwards is looked up with each update.
const metrics = (role: "client" | "server"): ServerMetrics => {
  const labels = [MetricLabel.make("role", role)]
  const counter = (name: string, description: string) =>
    Metric.fromMetricKey(
      MetricKey.taggedWithLabels(MetricKey.counter(name, { description, incremental: true }), labels)
    )
  const gauge = (name: string, description: string) =>
    Metric.fromMetricKey(MetricKey.taggedWithLabels(MetricKey.gauge(name, { description }), labels))
  const histogram = (name: string, boundaries: MetricBoundaries.MetricBoundaries, description: string) =>
    Metric.fromMetricKey(MetricKey.taggedWithLabels(MetricKey.histogram(name, boundaries, description), labels))
  return {
    connectionsOpen: gauge("websocket_connections_open", "WebSocket connections that are open"),
    connectionsOpened: counter("websocket_connections_opened_total", "WebSocket connections that were opened"),
    connectionsClosed: counter("websocket_connections_closed_total", "WebSocket connections that ended"),
    messagesReceived: counter("websocket_messages_received_total", "WebSocket messages that were received"),
    messagesSent: counter("websocket_messages_sent_total", "WebSocket messages that were sent"),
    bytesReceived: counter("websocket_received_bytes_total", "Bytes of WebSocket frames that were received"),
    bytesSent: counter("websocket_sent_bytes_total", "Bytes of WebSocket frames that were sent"),
    sendQueue: gauge("websocket_send_queue_bytes", "Bytes that wait for slow WebSocket peers"),
    sendQueuePeak: histogram(
      "websocket_send_queue_peak_bytes",
      MetricBoundaries.exponential({ start: 1024, factor: 4, count: 11 }),
      "Most bytes that waited for a slow WebSocket peer, until it had caught up"
    ),
    pingLatency: histogram(
      "websocket_ping_duration_seconds",
      MetricBoundaries.exponential({ start: 0.001, factor: 2, count: 16 }),
      "Seconds from a WebSocket ping to its pong"
    ),
    handshakesRefused: counter("websocket_handshakes_refused_total", "WebSocket opening handshakes that were refused")
  }
}

/**
 * Of connections that this process opened.
 *
 * @since 0.1.0
 * @category metrics
 */
export const client: ConnectionMetrics = metrics("client")

/**
 * Of connections that this process accepted.
 *
 * @since 0.1.0
 * @category metrics
 */
export const server: ServerMetrics = metrics("server")
