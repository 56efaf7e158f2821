// Fibers that a read of the socket wakes run before its callback returns, not a turn of the
// microtask queue later. It saves each read about 1.5 us of 13 (bench/, 16-byte messages over a
// hundred connections): a promise, the queue of a scheduler, and another promise for the flush.

import * as Scheduler from "effect/Scheduler"

/** What wakes fibers. */
interface Waker {
  readonly wake: () => void
}

// So many steps a fiber may take at a time without being asked for its own limit, which is 2048 unless it was changed: to
// ask costs a tenth of a step, and what a message takes are some ten.
const freeSteps = 256

class TurnScheduler implements Scheduler.Scheduler {
  private open = false
  private woken: Array<Scheduler.Task> = []

  shouldYield(fiber: Parameters<Scheduler.Scheduler["shouldYield"]>[0]): number | false {
    return fiber.currentOpCount > freeSteps ? Scheduler.defaultScheduler.shouldYield(fiber) : false
  }

  scheduleTask(...[task, priority, fiber]: Parameters<Scheduler.Scheduler["scheduleTask"]>): void {
    if (this.open) this.woken.push(task)
    else Scheduler.defaultScheduler.scheduleTask(task, priority, fiber)
  }

  /**
   * Wakes fibers, and runs those of this scheduler at once. What they wake in their turn waits for
   * the default scheduler, so that nothing runs for ever.
   */
  run(waker: Waker): void {
    this.open = true
    try {
      waker.wake()
    } finally {
      this.open = false
      const { woken } = this
      if (woken.length > 0) {
        this.woken = []
        for (const task of woken) task()
      }
    }
  }
}

export const turn = new TurnScheduler()
