/**
 * WebSockets for Effect, spoken natively over TCP and TLS, as scoped resources.
 *
 * @since 0.1.0
 */
export * as Broadcast from "./Broadcast.js"
export * as CloseCode from "./CloseCode.js"
export * as Flow from "./Flow.js"
export * as Frame from "./Frame.js"
export * as Handshake from "./Handshake.js"
export * as MessageCodec from "./MessageCodec.js"
export * as Network from "./Network.js"
export * as NodeDuplex from "./NodeDuplex.js"
export * as NodeNetwork from "./NodeNetwork.js"
export * as OriginPolicy from "./OriginPolicy.js"
export * as PlatformSocket from "./PlatformSocket.js"
export * as ProxyNetwork from "./ProxyNetwork.js"
export * as ReconnectingWebSocket from "./ReconnectingWebSocket.js"
export * as Rng from "./Rng.js"
export * as TestNetwork from "./TestNetwork.js"
export * as TypedWebSocket from "./TypedWebSocket.js"
export * as WebSocket from "./WebSocket.js"
export * as WebSocketError from "./WebSocketError.js"
export * as WebSocketMetrics from "./WebSocketMetrics.js"
export * as WebSocketServer from "./WebSocketServer.js"
export * as WebSocketShapes from "./WebSocketShapes.js"
