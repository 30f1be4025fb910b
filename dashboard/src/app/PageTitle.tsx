import { useEffect, useRef } from "react";

// The first page must not steal the focus; later ones take it, so that a screen reader says where one is.
let pagesShown = 0;

/** The page's heading: also the window's title, and where the focus goes after following a link. */
export function PageTitle({ children }: { children: string }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${children} · Loupe`;
  }, [children]);
  useEffect(() => {
    pagesShown += 1;
    if (pagesShown > 1) heading.current?.focus();
  }, []);
  return (
    <h1 ref={heading} tabIndex={-1}>
      {children}
    </h1>
  );
}
