import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import * as overTls from "./fixtures/overTls.js"
import { shutdownSuite } from "./suites/shutdown.js"

shutdownSuite("in memory", TestNetwork.layer, 1000)
shutdownSuite("over TCP", NodeNetwork.layer, 1000)
shutdownSuite("over TLS", overTls.layer, 100)
