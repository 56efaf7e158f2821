// The subscribers of a server, in a process of their own: `broadcastClients.ts PORT COUNT`. Raw sockets that count bytes.
// Told how many bytes are due at each, it answers when all of them have come.

import { connect } from "./load.js"

const port = Number(process.argv[2])
const count = Number(process.argv[3])

const sockets = []
// As many at a time as the queue of a listener holds.
while (sockets.length < count) {
  const more = Math.min(200, count - sockets.length)
  sockets.push(...(await Promise.all(Array.from({ length: more }, () => connect(port)))))
}

let due = 0
let received = 0
const look = () => {
  if (due === 0 || received < due) return
  process.send?.({ received })
  due = 0
  received = 0
}
for (const socket of sockets) {
  socket.on("data", (bytes) => {
    received += bytes.length
    look()
  })
  socket.on("error", (error) => {
    throw error
  })
}
process.on("message", (bytes: number) => {
  due = bytes * count
  look()
})
process.send?.({ connected: count })
