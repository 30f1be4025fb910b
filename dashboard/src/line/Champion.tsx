/** The champion bundle of a line, or what it means to have none. */
export function Champion({ bundle }: { bundle: string | null }) {
  if (bundle === null || bundle === "") {
    return (
      <p className="note note-warning">
        <span aria-hidden="true">▲</span> No champion: every part is held for review.
      </p>
    );
  }
  return (
    <p>
      Champion <code title={bundle}>{bundle.slice(0, 8)}</code>
    </p>
  );
}
