import { describe } from "@effect/vitest"
import { Effect } from "effect"
import * as WebSocketServer from "effect-websocket/WebSocketServer"
import { expect } from "vitest"
import { knock } from "./fixtures/knocking.js"
import { upgradeRequest } from "./fixtures/rawPeer.js"
import { finish } from "./fixtures/withPeer.js"
import { attack, inBothRoles } from "./security/attack.js"

describe("values that only look like what they are taken for", () => {
  attack(
    "an object with a length is no message: nothing is sent, nothing of that size allocated",
    inBothRoles({}, ({ peer, socket }) =>
      Effect.gen(function* () {
        for (const text of ['{"length":100}', "[1,2,3]"]) yield* Effect.exit(socket.send(JSON.parse(text)))
        yield* socket.send("after")
        yield* peer.frame(({ payload }) => String(Buffer.from(payload)) === "after")
        const count = peer.frames().length
        yield* finish({ peer, socket })
        expect(count).toBe(1)
      })
    )
  )

  attack(
    "a cookie that wasn't sent isn't there, whatever it is called; one that was is",
    Effect.gen(function* () {
      const server = yield* WebSocketServer.make({ drainTimeout: 0 })
      yield* server.serveWith(
        ({ cookies }) => Effect.succeed({ data: typeof cookies["constructor"] }),
        (socket, type) => socket.send(type)
      )
      for (const [cookie, type] of [
        ["a=b", "undefined"],
        ["constructor=1", "string"]
      ]) {
        const { peer } = yield* knock(server, upgradeRequest({ Cookie: cookie }))
        const { payload } = yield* peer.frame(({ opcode }) => opcode === 1)
        expect(String(Buffer.from(payload))).toBe(type)
        yield* peer.destroy
      }
    })
  )

  attack(
    "a cookie is its first value, without quotes, decoded if it can be",
    Effect.gen(function* () {
      const server = yield* WebSocketServer.make({ drainTimeout: 0 })
      yield* server.serveWith(
        ({ cookies }) => Effect.succeed({ data: JSON.stringify(cookies) }),
        (socket, all) => socket.send(all)
      )
      const sent = 'a=1; a=2; b="x%20y"; c=%zz; d; __proto__=p; e=f=g; h='
      const { peer } = yield* knock(server, upgradeRequest({ Cookie: sent }))
      const { payload } = yield* peer.frame(({ opcode }) => opcode === 1)
      expect(String(Buffer.from(payload))).toBe('{"a":"1","b":"x y","c":"%zz","__proto__":"p","e":"f=g","h":""}')
      yield* peer.destroy
    })
  )
})
