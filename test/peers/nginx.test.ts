import { describe, expect } from "@effect/vitest"
import { Effect } from "effect"
import { connect, echo, portOf, refused, standalone, test } from "../fixtures/proxied.js"
import { nginx } from "../fixtures/reverseProxy.js"
import { forwardingSuite } from "../suites/forwarding.js"
import { reverseProxySuite } from "../suites/reverseProxy.js"

reverseProxySuite("nginx", nginx, 502)
forwardingSuite("nginx", nginx, "http/1.1")

describe("the buffer of nginx", () => {
  test(
    "for the head of a response must hold that of the 101",
    Effect.gen(function* () {
      const adding = (size: number) =>
        Effect.map(standalone({ "/": echo }, { headers: { "x-a": "a".repeat(size) } }), portOf)
      yield* connect(`${(yield* nginx({ chat: yield* adding(3000) })).url}/chat/`)
      const { url } = yield* nginx({ chat: yield* adding(9000) })
      expect(yield* refused(`${url}/chat/`)).toMatchObject({ _tag: "HandshakeError", status: 502 })
    })
  )
})
