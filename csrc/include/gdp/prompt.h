/* prompt.h -- a name for the prompt that a body asks for, by its bytes: equal names, equal prompts.
 *
 *     {"model":"m","temperature":0.3,"messages":[...],"tools":[...],"seed":7,"user":"u"}
 *                                    ^^^^^^^^^^^^^^^^ ^^^^^^^^^^^^^^^ enter the name, each behind the name of its field
 *
 * The other way round it does not hold: blanks, escapes and the order of fields make other names of one prompt, and cost
 * no more than reading it again. Of fields that say what the prompt is by other means (a template, images, a prompt
 * computed elsewhere) nothing can be known from here, so a body that has one has no name; nor has one whose field names
 * are written with escapes. What a model, its adapter and its tokenizer make of the same body goes into the seed.
 *
 * Two passes over the body: 8 KiB in 1.3 us, 128 KiB in 22 us. */
#ifndef GDP_PROMPT_H
#define GDP_PROMPT_H

#include "gdp/base.h"

/* 0: it has none. len < 2^32. A secret seed makes the name one that no client can make another prompt have. */
uint64_t gdp_prompt_key(const char *body, size_t len, uint64_t seed);

#endif
