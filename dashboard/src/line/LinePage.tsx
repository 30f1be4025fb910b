import { Alerts } from "../alerts/Alerts";
import { ApiError, reportAddress } from "../api/client";
import type { LineInDetail } from "../api/documents";
import { PageTitle } from "../app/PageTitle";
import { Polled } from "../connection/Polled";
import { Drift } from "../drift/Drift";
import { Model } from "../model/Model";
import { Nights } from "../nights/Nights";
import { Parts } from "../parts/Parts";
import { ReportLink } from "../reports/ReportLink";
import { Champion } from "./Champion";
import { useLine } from "./useLine";

export function LinePage({ name }: { name: string }) {
  const line = useLine(name);
  if (line.data === undefined && line.error instanceof ApiError && line.error.status === 404) {
    return <UnknownLine name={name} />;
  }
  return (
    <>
      <nav aria-label="Back">
        <a href="#/">← All lines</a>
      </nav>
      <PageTitle>{line.data?.line.title ?? name}</PageTitle>
      <Polled poll={line} what="the line">
        {(data) => <Sections name={name} data={data} />}
      </Polled>
    </>
  );
}

function Sections({ name, data }: { name: string; data: LineInDetail }) {
  const validation = reportAddress(data.validation);
  return (
    <>
      <div className="summary">
        {data.line.description !== null && <p className="quiet">{data.line.description}</p>}
        <Champion bundle={data.line.bundle} />
        {data.line.spread && <p className="quiet">Days are dealt, not captured.</p>}
        {validation !== null && (
          <p>
            <ReportLink address={validation}>Validation of the images</ReportLink>
          </p>
        )}
      </div>
      <div className="sections">
        <div className="column">
          <Nights line={name} />
          <Model line={name} run={data.run} />
        </div>
        <div className="column">
          <Alerts line={name} />
          <Drift line={name} />
        </div>
      </div>
      <Parts line={name} />
    </>
  );
}

function UnknownLine({ name }: { name: string }) {
  return (
    <>
      <PageTitle>Unknown line</PageTitle>
      <p className="empty">
        There is no line named “{name}”. <a href="#/">All lines</a>
      </p>
    </>
  );
}
