import { NodeNetwork, TestNetwork } from "effect-websocket"
import { framesSuite } from "./suites/frames.js"

framesSuite("in memory", TestNetwork.layer, 8)
// More than all buffers of the operating system between two sockets hold.
framesSuite("over TCP", NodeNetwork.layer, 64)
