import { vi } from "@effect/vitest"
import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import { backpressureSuite } from "./suites/backpressure.js"

// Much passes through.
vi.setConfig({ testTimeout: 120_000 })

const mebibyte = 1024 * 1024

backpressureSuite("in memory", TestNetwork.layer, { offer: 64 * mebibyte, stream: 64 * mebibyte })
backpressureSuite("over TCP", NodeNetwork.layer, { offer: 1024 * mebibyte, stream: 256 * mebibyte })
