import { StaleNote } from "../connection/StaleNote";
import { LinePage } from "../line/LinePage";
import { LinesPage } from "../lines/LinesPage";
import { VerdictFills } from "../verdicts/VerdictBar";
import { useRoute } from "./useRoute";

export function App() {
  const route = useRoute();
  return (
    <>
      <VerdictFills />
      <header className="top">
        <a className="brand" href="#/">
          <svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
            <circle cx="13" cy="13" r="9" fill="none" stroke="currentColor" strokeWidth="4" />
            <path d="M20 20l9 9" stroke="currentColor" strokeWidth="5" strokeLinecap="round" />
          </svg>
          Loupe
        </a>
        <span className="tagline">visual inspection</span>
      </header>
      <main>
        <StaleNote />
        {route.page === "lines" ? <LinesPage /> : <LinePage key={route.line} name={route.line} />}
      </main>
    </>
  );
}
