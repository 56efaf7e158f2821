// `npm run bench:micro [PART...]`: the small parts, each beside what else was tried for it. A part is any piece of its title.

import { join } from "node:path"
import { build } from "./build.js"
import { installPeers } from "./machine.js"
import { fork } from "./processes.js"

installPeers()
const built = await build("current")
fork(join(built, "micro/main.js"), process.argv.slice(2), { execArgv: ["--expose-gc"] })
