// Bun's own server; this file is run by Bun.

const settings = JSON.parse(process.argv[3] ?? "{}")
const { Bun } = globalThis
const { deflate, task = "echo" } = settings
const compressor = deflate === "takeover" ? "dedicated" : "shared"

const isLast = (socket) => {
  socket.data.count = (socket.data.count + 1) % task.ackEach
  return socket.data.count === 0
}

const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  tls: settings.tls,
  fetch: (request, server) =>
    server.upgrade(request, { data: { count: 0 } }) ? undefined : new Response("no upgrade", { status: 400 }),
  websocket: {
    maxPayloadLength: 64 * 1024 * 1024,
    backpressureLimit: 64 * 1024 * 1024,
    sendPings: settings.heartbeat !== false,
    perMessageDeflate: deflate === undefined ? false : { compress: compressor, decompress: compressor },
    open: (socket) => socket.subscribe("all"),
    message: (socket, message) => {
      if (task === "echo") socket.send(message, deflate !== undefined)
      else if (isLast(socket)) socket.send("ack")
    }
  }
})

process.on("message", (question) => {
  if (question === "collect") Bun.gc(true)
  if (typeof question === "object") {
    const message = Buffer.alloc(question.size, "abcdefghij").toString("latin1")
    for (let count = 0; count < question.messages; count++) server.publish("all", message)
  }
  const rss = process.memoryUsage().rss
  process.send({ cpu: process.cpuUsage(), rss, heap: Number.NaN, maxRss: rss })
})
process.on("disconnect", () => process.exit())
process.send({ port: server.port })
