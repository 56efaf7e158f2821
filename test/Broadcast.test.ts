import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import { broadcastSuite } from "./suites/broadcast.js"

broadcastSuite("in memory", TestNetwork.layer)
broadcastSuite("over TCP", NodeNetwork.layer)
