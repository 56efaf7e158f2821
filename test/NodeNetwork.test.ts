import { rmSync } from "node:fs"
import { mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "@effect/vitest"
import { Effect } from "effect"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import { makeCertificates } from "./fixtures/certificates.js"
import { networkSuite } from "./suites/network.js"

const certificates = makeCertificates()
const directory = mkdtempSync(join(tmpdir(), "effect-websocket-"))
afterAll(() => rmSync(directory, { recursive: true }))
let files = 0

const openResources = Effect.sync(
  () => process.getActiveResourcesInfo().filter((resource) => /TCP|TLS|Pipe/.test(resource)).length
)

const loopback = { _tag: "TcpAddress", hostname: "127.0.0.1", port: 0 } as const

networkSuite("NodeNetwork over TCP", {
  layer: NodeNetwork.layer,
  listenOn: () => ({ address: loopback }),
  openResources
})

networkSuite("NodeNetwork over TLS", {
  layer: NodeNetwork.layer,
  listenOn: () => ({ address: loopback, tls: certificates.good }),
  tls: { ca: certificates.ca },
  openResources
})

networkSuite("NodeNetwork over a Unix socket", {
  layer: NodeNetwork.layer,
  listenOn: () => ({ address: { _tag: "UnixAddress", path: join(directory, `${files++}.sock`) } }),
  openResources
})
