import { beforeAll, describe, expect, it, vi } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { type Certificates, makeCertificates } from "../fixtures/certificates.js"
import { echo, fileWith, run, serve } from "../fixtures/cli.js"
import { tinyproxy, user } from "../fixtures/proxies.js"

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

let certificates: Certificates
beforeAll(() => {
  certificates = makeCertificates()
})

/** An echo server inside TLS, under the name that its certificate has. */
const secured = (options: { readonly clientCa?: string } = {}) =>
  Effect.map(serve(echo, { tls: { ...certificates.good, ...options } }), ({ url }) =>
    url.replace("127.0.0.1", "localhost")
  )

const hello = { code: 0, stdout: ["hello"] }

describe("TLS", () => {
  it.scopedLive("is verified against --ca", () =>
    Effect.gen(function* () {
      const ca = yield* fileWith(certificates.ca)
      expect(yield* run(["connect", yield* secured(), "--ca", ca], "hello\n")).toMatchObject(hello)
    })
  )

  for (const [what, wrong] of [
    ["against the authorities of the platform", () => []],
    ["against another --ca", () => ["--ca", certificates.selfSigned.cert]]
  ] as const) {
    it.scopedLive(`is verified ${what}, and exits with 2 and one line if that fails`, () =>
      Effect.gen(function* () {
        const [option, pem] = wrong()
        const args = option === undefined || pem === undefined ? [] : [option, yield* fileWith(pem)]
        expect(yield* run(["connect", yield* secured(), ...args], "hello\n")).toEqual({
          code: 2,
          stdout: [],
          stderr: [expect.stringMatching(/^connecting to localhost.* failed \(tls\): /)]
        })
      })
    )
  }

  it.scopedLive("isn't verified with --insecure", () =>
    Effect.gen(function* () {
      expect(yield* run(["connect", "-k", yield* secured()], "hello\n")).toMatchObject(hello)
    })
  )

  it.scopedLive("shows the client's certificate where --cert and --key give it", () =>
    Effect.gen(function* () {
      const url = yield* secured({ clientCa: certificates.ca })
      const trust = ["--ca", yield* fileWith(certificates.ca)]
      const cert = yield* fileWith(certificates.client.cert)
      const key = yield* fileWith(Redacted.value(certificates.client.key))
      expect(yield* run(["connect", url, ...trust, "--cert", cert, "--key", key], "hello\n")).toMatchObject(hello)
      expect(yield* run(["connect", url, ...trust], "hello\n")).toMatchObject({
        code: 2,
        stderr: [expect.stringMatching(/wants a client certificate/)]
      })
    })
  )
})

describe("a proxy", () => {
  const proxied = Effect.gen(function* () {
    const { url } = yield* serve(echo)
    const { port } = yield* tinyproxy({ user })
    const { password, username } = user
    return { url, proxy: `http://${username}:${Redacted.value(password)}@127.0.0.1:${port}` }
  })

  it.scopedLive("is gone through with --proxy", () =>
    Effect.gen(function* () {
      const { proxy, url } = yield* proxied
      expect(yield* run(["connect", url, "--proxy", proxy], "hello\n")).toMatchObject(hello)
      expect(yield* run(["ping", url, "--proxy", proxy, "--count", "1"])).toMatchObject({ code: 0 })
    })
  )

  it.scopedLive("is taken from the environment with --proxy env, and only then", () =>
    Effect.gen(function* () {
      const { proxy, url } = yield* proxied
      const env = { HTTP_PROXY: proxy.replace("open", "wrong"), http_proxy: "" }
      expect(yield* run(["connect", url], "hello\n", env)).toMatchObject(hello)
      const refused = yield* run(["connect", url, "--proxy", "env"], "hello\n", env)
      expect(refused).toMatchObject({ code: 2, stdout: [], stderr: [expect.stringMatching(/\(proxy\): .*user name/)] })
      expect(refused.stderr.join()).not.toContain(Redacted.value(user.password).replace("open", "wrong"))
    })
  )

  it.scopedLive("that can't be used exits with 2", () =>
    Effect.gen(function* () {
      const ended = yield* run(["connect", "ws://127.0.0.1:1/", "--proxy", "http://127.0.0.1:1"])
      expect(ended).toMatchObject({ code: 2, stderr: [expect.stringMatching(/127\.0\.0\.1:1 /)] })
    })
  )
})
