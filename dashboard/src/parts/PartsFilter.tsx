import { useNights } from "../nights/useNights";
import type { Filter } from "./useParts";

const FILTERS: readonly [Filter, string][] = [
  ["all", "All"],
  ["review", "Held for review"],
  ["fail", "Failed"],
];

interface Props {
  line: string;
  filter: Filter;
  onFilter: (filter: Filter) => void;
  /** Empty for every night. */
  day: string;
  onDay: (day: string) => void;
}

/** Which parts are shown: by verdict and by night. */
export function PartsFilter({ line, filter, onFilter, day, onDay }: Props) {
  const nights = useNights(line);
  return (
    <div className="filters">
      <fieldset className="filter">
        <legend>Show</legend>
        {FILTERS.map(([value, words]) => (
          <label key={value}>
            <input
              type="radio"
              name="parts-filter"
              value={value}
              checked={filter === value}
              onChange={() => onFilter(value)}
            />{" "}
            {words}
          </label>
        ))}
      </fieldset>
      <label>
        Night{" "}
        <select value={day} onChange={(event) => onDay(event.target.value)}>
          <option value="">every night</option>
          {(nights.data ?? []).map((night) => (
            <option key={night.day}>{night.day}</option>
          ))}
        </select>
      </label>
    </div>
  );
}
