import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const src = (path: string) => fileURLToPath(new URL(`./src/${path}`, import.meta.url))

export default defineConfig({
  resolve: {
    alias: [
      { find: /^effect-websocket$/, replacement: src("index.ts") },
      { find: /^effect-websocket\/(.+)$/, replacement: src("$1.ts") }
    ]
  },
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    // Much of the time goes by in waiting for other processes: browsers, servers, commands.
    maxWorkers: 3,
    minWorkers: 1,
    testTimeout: 60_000,
    // .ci/run reads the counts from the JSON file.
    reporters: process.env["CI"] === "true" ? ["default", "json"] : ["default"],
    outputFile: { json: "coverage/results.json" },
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      reporter: ["text", "json-summary"],
      thresholds: {
        "src/protocol/**": { branches: 100 },
        branches: 95,
        "src/{*.ts,internal/**}": { branches: 95 }
      }
    }
  }
})
