import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it, vi } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { makeCertificates } from "../fixtures/certificates.js"
import { tsx } from "../fixtures/process.js"

// A child process compiles all of its TypeScript first.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

describe("examples/tls.ts", () => {
  it.scopedLive("talks to who has a certificate, and tells all others why not", () =>
    Effect.gen(function* () {
      const { ca, client, good } = makeCertificates()
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-websocket-tls-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const file = (name: string, content: string) => {
        const path = join(directory, name)
        writeFileSync(path, content)
        return path
      }
      const example = yield* tsx("examples/tls.ts", [], {
        CA: file("ca.pem", ca),
        CERT: file("server.pem", good.cert),
        KEY: file("server.key", Redacted.value(good.key)),
        CLIENT_CERT: file("client.pem", client.cert),
        CLIENT_KEY: file("client.key", Redacted.value(client.key))
      })
      const { code, stderr, stdout } = yield* example.exit
      expect({ code, stderr }).toEqual({ code: 0, stderr: [] })
      expect(stdout).toHaveLength(4)
      expect(stdout[0]).toBe("with a certificate: over TLS")
      // Under TLS 1.3 the server refuses after the handshake, perhaps when the request is on its way.
      expect(stdout[1]).toMatch(/^without: (ConnectError|HandshakeError): /)
      expect(stdout[2]).toMatch(/^trusting nobody: ConnectError: .*\(tls\)/)
      expect(stdout[3]).toMatch(/^another name: ConnectError: .*\(tls\).*other\.example/)
    })
  )
})
