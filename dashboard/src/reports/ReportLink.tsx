interface Props {
  address: string;
  children: string;
}

/** A report opens beside the dashboard: inside Airflow's frame it would take the dashboard's place. */
export function ReportLink({ address, children }: Props) {
  return (
    <a href={address} target="_blank" rel="noreferrer">
      {children}
      <span aria-hidden="true">{"\u00a0↗"}</span>
      <span className="unseen"> (opens in a new tab)</span>
    </a>
  );
}
