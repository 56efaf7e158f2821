import { NodeNetwork, TestNetwork } from "effect-websocket"
import { shapesSuite } from "./suites/shapes.js"

shapesSuite("in memory", TestNetwork.layer, "client", 4)
shapesSuite("over TCP", NodeNetwork.layer, "server", 64)
