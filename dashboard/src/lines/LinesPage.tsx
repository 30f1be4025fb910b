import { PageTitle } from "../app/PageTitle";
import { Polled } from "../connection/Polled";
import { LineCard } from "./LineCard";
import { useLines } from "./useLines";

export function LinesPage() {
  const lines = useLines();
  return (
    <>
      <PageTitle>Lines at a glance</PageTitle>
      <Polled poll={lines} what="the lines">
        {(known) =>
          known.length === 0 ? (
            <p className="empty">No line yet. A line appears here once its first bundle is promoted.</p>
          ) : (
            <ul className="cards">
              {known.map((line) => (
                <LineCard key={line.line} line={line} />
              ))}
            </ul>
          )
        }
      </Polled>
    </>
  );
}
