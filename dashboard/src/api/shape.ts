/** Guards for what comes over the wire: each takes an unknown value and where it lies, and returns it typed. */

export type Guard<T> = (value: unknown, where: string) => T;
export type Guarded<G> = G extends Guard<infer T> ? T : never;

/** The API answered something that ARCHITECTURE.md does not promise. */
export class ShapeError extends Error {
  constructor(where: string, expected: string, value: unknown) {
    const shown = JSON.stringify(value) ?? "undefined";
    super(`${where} is ${shown.slice(0, 60)}; expected ${expected}`);
    this.name = "ShapeError";
  }
}

export const text: Guard<string> = (value, where) => {
  if (typeof value !== "string") throw new ShapeError(where, "text", value);
  return value;
};

export const number: Guard<number> = (value, where) => {
  if (typeof value !== "number") throw new ShapeError(where, "a number", value);
  return value;
};

export const flag: Guard<boolean> = (value, where) => {
  if (typeof value !== "boolean") throw new ShapeError(where, "true or false", value);
  return value;
};

/** Whether the field is set to anything but null or false; a missing field is not. */
export const present: Guard<boolean> = (value) => value !== undefined && value !== null && value !== false;

/** A number of things, given as a number or as the things themselves. */
export const count: Guard<number> = (value, where) =>
  Array.isArray(value) ? value.length : number(value, where);

export function oneOf<T extends string>(...choices: readonly T[]): Guard<T> {
  return (value, where) => {
    const found = choices.find((choice) => choice === value);
    if (found === undefined) throw new ShapeError(where, choices.join(" or "), value);
    return found;
  };
}

export function nullable<T>(inner: Guard<T>): Guard<T | null> {
  return (value, where) => (value === null || value === undefined ? null : inner(value, where));
}

export function list<T>(inner: Guard<T>): Guard<T[]> {
  return (value, where) => {
    if (!Array.isArray(value)) throw new ShapeError(where, "a list", value);
    return value.map((item, index) => inner(item, `${where}[${index}]`));
  };
}

function record(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ShapeError(where, "an object", value);
  }
  return value as Record<string, unknown>;
}

export function mapping<T>(inner: Guard<T>): Guard<Record<string, T>> {
  return (value, where) =>
    Object.fromEntries(
      Object.entries(record(value, where)).map(([key, item]) => [key, inner(item, `${where}.${key}`)]),
    );
}

export function object<T extends object>(fields: { [K in keyof T]: Guard<T[K]> }): Guard<T> {
  return (value, where) => {
    const source = record(value, where);
    const result = {} as T;
    for (const key of Object.keys(fields) as (keyof T & string)[]) {
      result[key] = fields[key](source[key], `${where}.${key}`);
    }
    return result;
  };
}
