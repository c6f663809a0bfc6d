/** Shows an answer as the text it is. */

import { createIntake } from "./intake.js";
import { appendText } from "./text.js";

/** A renderer that fills an empty `container` with text nodes. */
export function createPlainRenderer(container) {
  const intake = createIntake();
  container.dataset.format = "text";

  return {
    append: (piece) => appendText(container, intake(piece)),
    end: async () => appendText(container, intake("", { ended: true })),
    dispose() {},
  };
}
