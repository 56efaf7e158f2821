import { inMemory } from "./fixtures/breakable.js"
import { ends, faults } from "./fixtures/faultStage.js"
import { testInMemory } from "./fixtures/leaks.js"
import { everyOffset, everyOffsetOfTheHead, faultsSuite } from "./suites/faults.js"

faultsSuite(
  "in memory",
  testInMemory,
  inMemory,
  ends.flatMap((end) =>
    faults.map((fault) => [end, fault, end === "accept" ? everyOffsetOfTheHead : everyOffset] as const)
  )
)
