/** A count with thousands separated. */
export function whole(count: number): string {
  return count.toLocaleString("en");
}

/** A share as a percentage that never rounds something to nothing, nor nearly everything to everything. */
export function percent(share: number): string {
  if (share > 0 && share < 0.001) return "<0.1 %";
  if (share > 0.999 && share < 1) return ">99.9 %";
  const digits = share === 0 || share === 1 || (share >= 0.0995 && share < 0.9) ? 0 : 1;
  return `${(100 * share).toFixed(digits)} %`;
}
