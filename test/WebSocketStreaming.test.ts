import * as NodeNetwork from "effect-websocket/NodeNetwork"
import * as TestNetwork from "effect-websocket/TestNetwork"
import { streamingSuite } from "./suites/streaming.js"

streamingSuite("in memory", TestNetwork.layer)
streamingSuite("over TCP", NodeNetwork.layer)
