/** Makes nodes on the page like others, keeping those that need no change: selection and focus stay. */

/**
 * Make the children of `parent` behind `mark` (all of them, if it is null) like `nodes`.
 *
 * The nodes may be moved into the page, and must not be used afterwards.
 */
export function patchAfter(parent, mark, nodes) {
  let live = mark ? mark.nextSibling : parent.firstChild;
  for (const wanted of nodes) {
    const next = live?.nextSibling ?? null;
    if (!live) parent.append(wanted);
    else if (!becomes(live, wanted)) live.replaceWith(wanted);
    live = next;
  }
  while (live) {
    const next = live.nextSibling;
    live.remove();
    live = next;
  }
}

/** Make one node like another; returns whether that was possible. */
export function becomes(live, wanted) {
  if (live.nodeType === Node.TEXT_NODE && wanted.nodeType === Node.TEXT_NODE) setData(live, wanted.data);
  else if (isSameElement(live, wanted)) patchAfter(live, null, [...wanted.childNodes]);
  else return false;
  return true;
}

/** What is only longer is appended to: the rest stays selected, and is not read out again. */
function setData(text, data) {
  if (data.startsWith(text.data)) text.appendData(data.slice(text.length));
  else text.data = data;
}

/** Whether they are the same but for their children. */
function isSameElement(live, wanted) {
  if (live.nodeName !== wanted.nodeName || live.attributes?.length !== wanted.attributes?.length) return false;
  return [...wanted.attributes].every(({ name, value }) => live.getAttribute(name) === value);
}
