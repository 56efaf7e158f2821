import { inMemory } from "./peer.js"
import { conformanceSuite } from "./suite.js"

conformanceSuite(inMemory)
