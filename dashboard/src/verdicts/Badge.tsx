import type { Severity, Verdict } from "../api/documents";

type Tone = "good" | "warning" | "bad" | "quiet";

const SIGN: Record<Tone, string> = { good: "●", warning: "▲", bad: "■", quiet: "○" };

/** A status in words, with a shape and a colour that only repeat them. */
export function Badge({ tone, children }: { tone: Tone; children: string }) {
  return (
    <span className={`badge badge-${tone}`}>
      <span aria-hidden="true">{SIGN[tone]}</span> {children}
    </span>
  );
}

const SEVERITY: Record<Severity, [Tone, string]> = {
  none: ["good", "no drift"],
  warning: ["warning", "drift warning"],
  alarm: ["bad", "drift alarm"],
};

export function SeverityBadge({ severity }: { severity: Severity | null }) {
  if (severity === null) return <Badge tone="quiet">drift not measured</Badge>;
  const [tone, words] = SEVERITY[severity];
  return <Badge tone={tone}>{words}</Badge>;
}

const VERDICT: Record<Verdict, [Tone, string]> = {
  pass: ["good", "pass"],
  review: ["warning", "held for review"],
  fail: ["bad", "fail"],
};

export function VerdictBadge({ verdict }: { verdict: Verdict }) {
  const [tone, words] = VERDICT[verdict];
  return <Badge tone={tone}>{words}</Badge>;
}
