import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { launch } from "../fixtures/browser.js"
import { makeCertificates } from "../fixtures/certificates.js"
import { node } from "../fixtures/process.js"
import { serving } from "./server.js"

const timeout = 60_000

const file = "test/peers/scenario.js"
const functions = readFileSync(file, "utf8").replaceAll("export const", "var")

/** The URL of a page on this machine; Chromium lets no other connect to it. */
const emptyPage = Effect.acquireRelease(
  Effect.async<Server>((resume) => {
    const server = createServer((_, response) => response.setHeader("content-type", "text/html").end("<p>peer"))
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  }),
  (server) =>
    Effect.sync(() => {
      server.close()
      server.closeAllConnections()
    })
).pipe(
  Effect.map((server) => {
    const address = server.address()
    return `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}/`
  })
)

/** A client with the standard interface. */
interface Client {
  readonly name: string
  /** The value of a call of one of the functions in the scenario, which JSON can carry. */
  readonly call: (call: "scenario" | "visit", url: string, ca?: string) => Effect.Effect<unknown, unknown>
}

const inNode = (name: string, imports: string, flags: ReadonlyArray<string> = []): Client => ({
  name,
  call: (call, url, ca) =>
    Effect.gen(function* () {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-websocket-peer-"))),
        (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
      )
      const authority = join(directory, "ca.pem")
      if (ca !== undefined) writeFileSync(authority, ca)
      const code = `${imports}
        import { ${call} } from "./${file}"
        const result = JSON.stringify(await ${call}(WebSocket, ${JSON.stringify(url)}))
        // Not all of them let go of a connection whose handshake they didn't like.
        process.stdout.write("result " + result + "\\n", () => process.exit())`
      const peer = yield* node(
        [...flags, "--input-type=module", "--eval", code],
        ca === undefined ? {} : { NODE_EXTRA_CA_CERTS: authority }
      )
      const [, result = ""] = yield* peer.line(/^result (.*)$/)
      const { code: exit } = yield* peer.exit
      expect(exit).toBe(0)
      return JSON.parse(result)
    }).pipe(Effect.scoped)
})

const builtIn = Number(process.versions.node.split(".")[0]) >= 22 ? [] : ["--experimental-websocket"]

const clients: ReadonlyArray<Client> = [
  inNode("ws", `import { WebSocket } from "ws"`),
  inNode("undici", `import { WebSocket } from "undici"`),
  inNode("Node's own WebSocket", "const { WebSocket } = globalThis", builtIn),
  {
    name: "Chromium",
    call: (call, url, ca) =>
      Effect.gen(function* () {
        const browser = yield* launch(ca === undefined ? [] : ["--ignore-certificate-errors"])
        const page = yield* browser.open(yield* emptyPage)
        return yield* page.evaluate(`${functions}; ${call}(WebSocket, ${JSON.stringify(url)})`)
      }).pipe(Effect.scoped)
  }
]

for (const { name, call } of clients) {
  describe(`${name}, a client of our server`, () => {
    it.scopedLive(
      "exchanges messages of all sizes, fragments, pings, closes and subprotocols",
      () =>
        Effect.gen(function* () {
          const { base, told, serves } = yield* serving()
          expect(yield* call("scenario", base)).toEqual({
            changed: [],
            fragments: ["€", [1, 2, 3], "whole"],
            pong: "are you there?",
            fromServer: [
              { code: 1000, reason: "bye", wasClean: true },
              { code: 1001, reason: "", wasClean: true },
              { code: 1005, reason: "", wasClean: true },
              { code: 3000, reason: "", wasClean: true },
              { code: 4999, reason: "grüße", wasClean: true }
            ],
            // The server answers with the code that it got, and no reason.
            fromClient: [
              { code: 1000, reason: "", wasClean: true },
              { code: 1005, reason: "", wasClean: true },
              { code: 3000, reason: "", wasClean: true },
              { code: 4999, reason: "", wasClean: true }
            ],
            protocols: ["", "v1", "v2", "v1"],
            // Our server chose none of those offered, which none of these clients puts up with.
            strangerOpened: false,
            missing: false
          })
          expect(yield* Effect.all([told, told, told, told])).toEqual(["1000 bye", "1005", "3000", "4999 grüße"])
          expect(yield* serves).toBe("still there?")
        }),
      { timeout }
    )

    it.scopedLive(
      "speaks wss with a server whose certificate it trusts, and not with another",
      () =>
        Effect.gen(function* () {
          const { ca, good } = makeCertificates()
          const { base, serves } = yield* serving({ tls: good })
          const url = base.replace("127.0.0.1", "localhost")
          expect(url).toMatch(/^wss:/)
          expect(yield* call("visit", `${url}/echo`, ca)).toBe("hello")
          expect(yield* call("visit", `${url}/echo`)).toBe("no connection")
          expect(yield* serves).toBe("still there?")
        }),
      { timeout }
    )
  })
}

describe("a client that vanishes", () => {
  it.scopedLive(
    "is a typed error in the handler, and the server serves on",
    () =>
      Effect.gen(function* () {
        const { base, told, serves } = yield* serving()
        const code = `import { WebSocket } from "ws"
          const socket = new WebSocket("${base}/told")
          socket.on("open", () => console.log("open"))`
        const peer = yield* node(["--input-type=module", "--eval", code])
        yield* peer.line(/open/)
        yield* peer.kill("SIGKILL")
        expect(yield* told).toBe("1006")
        expect(yield* serves).toBe("still there?")
      }),
    { timeout }
  )

  it.scopedLive(
    "because its page was closed says 1001",
    () =>
      Effect.gen(function* () {
        const { base, told, serves } = yield* serving()
        const browser = yield* launch()
        const page = yield* browser.open(yield* emptyPage)
        yield* page.evaluate(
          `new Promise((resolve) => { window.socket = new WebSocket("${base}/told"); socket.onopen = () => resolve() })`
        )
        yield* page.close
        expect(yield* told).toBe("1001")
        expect(yield* serves).toBe("still there?")
      }),
    { timeout }
  )
})
