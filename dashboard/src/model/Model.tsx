import { reportAddress } from "../api/client";
import type { Run } from "../api/documents";
import { ReportLink } from "../reports/ReportLink";
import { MetricsPlot } from "./MetricsPlot";
import { OtherBundles } from "./OtherBundles";
import type { NamedMetric } from "./metrics";
import { byModel, figure, interval } from "./metrics";

export function Model({ line, run }: { line: string; run: Run | null }) {
  return (
    <section className="panel" aria-labelledby="model-heading">
      <h2 id="model-heading">Model</h2>
      {run === null ? <p className="empty">No model has been promoted yet.</p> : <Promoted run={run} />}
      <OtherBundles line={line} champion={run?.bundle ?? null} />
    </section>
  );
}

function Promoted({ run }: { run: Run }) {
  const models = byModel(run.metrics);
  const report = reportAddress(run.report);
  return (
    <>
      <p>
        Bundle <code title={run.bundle}>{run.bundle.slice(0, 8)}</code>, measured on n test groups that no model was
        trained on. Whiskers are 95 % intervals; rates (%) are better when lower, scores when higher.{" "}
        {report !== null && <ReportLink address={report}>Evaluation report</ReportLink>}
      </p>
      {run.warnings.map((warning) => (
        <p key={warning} className="note note-warning">
          <span aria-hidden="true">▲</span> {warning}
        </p>
      ))}
      {models.map(([model, metrics]) => (
        <div key={model}>
          <h3>{model}</h3>
          <MetricsPlot metrics={metrics} />
        </div>
      ))}
      <details>
        <summary>Metrics as a table</summary>
        <MetricsTable metrics={models.flatMap(([, metrics]) => metrics)} />
      </details>
    </>
  );
}

function MetricsTable({ metrics }: { metrics: NamedMetric[] }) {
  return (
    <div className="scroll" role="region" aria-label="Metrics as a table" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Model</th>
            <th scope="col">Metric</th>
            <th scope="col">Value</th>
            <th scope="col">95 % interval</th>
            <th scope="col">Test groups</th>
          </tr>
        </thead>
        <tbody>
          {metrics.map((metric) => (
            <tr key={`${metric.model}.${metric.name}`}>
              <th scope="row">{metric.model}</th>
              <td>{metric.words}</td>
              <td>{figure(metric)}</td>
              <td>{interval(metric)}</td>
              <td>{metric.n}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
