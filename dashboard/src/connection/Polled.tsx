import type { ReactNode } from "react";

import type { Poll } from "./usePoll";

interface Props<T> {
  poll: Poll<T>;
  what: string;
  children: (data: T) => ReactNode;
}

/** Shows the data of a poll, or honestly why there is none. */
export function Polled<T>({ poll, what, children }: Props<T>) {
  if (poll.data !== undefined) return <>{children(poll.data)}</>;
  if (poll.error !== undefined) {
    return (
      <p className="empty">
        Could not read {what}: {poll.error.message}
      </p>
    );
  }
  return (
    <p className="empty" aria-busy="true">
      Reading {what}…
    </p>
  );
}
