import type { IdentityOptions } from './index.js'

/**
 * A plugin for Fastify 5. Register it first; behind it, `callerOf(request)` has the caller.
 *
 * Its types name nothing of Fastify's: a package that is linked into a project does not find that project's Fastify.
 */
export declare function identity(instance: object, options: IdentityOptions, done: (error?: Error) => void): void
