// What connecting and listening share.

import type { Socket } from "node:net"
import type { Duplex } from "node:stream"

/** Destroys a socket that nobody will own. What it says on its way out is of no interest. */
export const abandon = (socket: Duplex): void => {
  socket.on("error", ignore)
  socket.destroy()
}

export const ignore = () => {}

/** Node takes arrays that it might change. */
export const mutable = (pem: string | ReadonlyArray<string>): string | Array<string> =>
  typeof pem === "string" ? pem : [...pem]

/** What a TLS socket and the TCP socket under it have in common. */
export const peerOf = (socket: Socket): string => `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress}`
