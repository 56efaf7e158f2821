import { overTcp } from "./peer.js"
import { conformanceSuite } from "./suite.js"

conformanceSuite(overTcp)
