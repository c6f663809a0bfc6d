/** Links to answers. The id is the right to read, so it stays in the fragment, which no server gets to see. */

const FRAGMENT = /^#q=((?:Q-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i;

/** The id of the answer that an address's fragment names; null where it names none. */
export const linkedQuestion = (hash) => FRAGMENT.exec(hash)?.[1] ?? null;

/** The address at which any browser can read this answer, from the same backend as this page. */
export function linkTo(questionId, page) {
  const url = new URL(page);
  url.hash = `q=${questionId}`;
  return url.href;
}
