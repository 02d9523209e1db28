// What functions import: import { Future, get, addToSet } from "essa". See README.md.
export * from "./assembly/index";
