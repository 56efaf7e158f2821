import { describe, expect, it } from "@effect/vitest"
import { Duration, Option } from "effect"
import { parseDuration, toUrl } from "effect-websocket/cli/options"

describe("durations", () => {
  for (const [text, duration] of [
    ["30s", "30 seconds"],
    ["250ms", "250 millis"],
    ["1.5m", "90 seconds"],
    ["2 h", "2 hours"],
    ["5", "5 seconds"],
    ["0", "0 seconds"],
    ["1 minute", "1 minutes"],
    ["forever", "Infinity"]
  ] as const) {
    it(`are understood as ${text}`, () => {
      const expected = duration === "Infinity" ? Duration.infinity : Duration.decode(duration)
      expect(Option.map(parseDuration(text), Duration.toMillis)).toEqual(Option.some(Duration.toMillis(expected)))
    })
  }

  for (const text of ["", "s", "3x", "-1s", "1s2", "1,5s", "never", "NaN"]) {
    it(`are none like ${JSON.stringify(text)}`, () => {
      expect(parseDuration(text)).toEqual(Option.none())
    })
  }
})

it("a URL without a scheme is that of a WebSocket, whatever its host looks like", () => {
  expect(toUrl("localhost:8080/chat")).toBe("ws://localhost:8080/chat")
  expect(toUrl("[::1]:80")).toBe("ws://[::1]:80")
  for (const url of ["ws://a/", "WSS://a/", "https://a/", "ftp://a/"]) expect(toUrl(url)).toBe(url)
})
