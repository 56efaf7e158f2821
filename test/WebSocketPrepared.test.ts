import { describe } from "@effect/vitest"
import { Effect } from "effect"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as WebSocket from "effect-websocket/WebSocket"
import { expect } from "vitest"
import { joined } from "./fixtures/joined.js"
import { testsOn } from "./fixtures/leaks.js"

for (const [name, network] of [
  ["in memory", TestNetwork.layer],
  ["over TCP", NodeNetwork.layer]
] as const) {
  describe(`${name}: a prepared message`, () => {
    testsOn(network)(
      "arrives as it is everywhere, whatever one of the receivers does to its own",
      Effect.gen(function* () {
        const plain = [yield* joined(), yield* joined()]
        const compressed = yield* joined({ client: { deflate: true }, server: { deflate: true } })
        const ways = [...plain, compressed].flatMap(({ client, server }) => [
          { from: server, to: client },
          { from: client, to: server }
        ])
        const bytes = Uint8Array.from({ length: 40_000 }, (_, index) => index % 251)
        const text = "é€😀".repeat(1000)
        const prepared = { bytes: WebSocket.prepare(bytes.slice()), text: WebSocket.prepare(text) }
        for (let round = 0; round < 3; round++) {
          for (const { from, to } of ways) {
            yield* from.sendAll([prepared.bytes, prepared.text, prepared.bytes])
            for (const expected of [bytes, text, bytes]) {
              const message = yield* to.receive
              expect(Buffer.from(message).equals(Buffer.from(expected))).toBe(true)
              if (typeof message !== "string") message.fill(255)
            }
          }
        }
      })
    )
  })
}
