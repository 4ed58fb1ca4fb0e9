"""Names for the numbers that the compiled grammar passes around: kinds, places and columns.

A state is (q, c, sp): q = kind << 48 | part << 32 | id, c = count << 32 | value, and sp the frame
on top.  Frames are nodes of linked stacks; nodes from SCRATCH on are temporary.

Glossary: h, the header of all arrays; part and value, how far into the spelling of a character
(`grammar_spelling`), or in part how much white space was read; result, a set of bits, one for each
member of a family that a value satisfied; OTHER, a key that is none of the names.
"""

# What a state is.
(END, FOREIGN, VALUE, WORD, STRING, CHOICE, TEXT, UNIQUE, KEY, PATTERN_KEY, COLON, NUMBER,
 OBJECT_FIRST, OBJECT_AFTER, OBJECT_COMMA, ARRAY_FIRST, ARRAY_AFTER) = range(17)  # fmt: skip
# What a frame is: an object of one shape, an array, the machine's, an object of several shapes
# between its members, and inside one.
BOTTOM, OBJECT, ARRAY, ALIEN, GROUP, MEMBER = range(6)

DEAD, UNKNOWN, FIRST_SPECIAL, PUSH = -1, -2, -3, 0
OTHER = 0xFFFFFFFF
SET_WORDS = 4  # an object has up to 64 names for each
MAX_NAMES = 64 * SET_WORDS
MAX_RESULTS = 31  # members of a family
NEW_NODES = 4  # a byte makes at most so many
MAX_DEPTHS = 16  # masks that depend on frames deeper than this are not kept
FEW_SHAPES = 8
SHAPE_COLUMNS = 1 + FEW_SHAPES + MAX_DEPTHS  # of a kind of states: how many, and which

# What Python must fill in before a call can be repeated.
(NEED_ROW, NEED_RESUME, NEED_NUMBER, NEED_FAMILY, NEED_TEXT, NEED_MEMBER, NEED_NEXT,
 NEED_RESULT, NEED_PAIRS) = range(9)  # fmt: skip
MAX_NEEDS = 256

# Places in the header: what schemas say ...
(FAMILIES, FIRST, STRINGS, ARRAYS, PREFIXES, OBJECTS, KEYS, NAMES, TRIE, NUMBERS, WORDS,
 ASCII, TEXTS, PIECES, TEXT_FIRST, GROUPS, GROUP_NEVER, THREADS, LABELS, MEMBERS, NEXTS,
 KEY_ASCII, KEY_STATES, KEY_PIECES, KEY_FIRST,
 # ... what the machine knows ...
 TABLE, SPECIALS, RESUMED, RECORDS, MEANING, RESULT_BITS, RESULT_IDS, FINAL, OPEN, ALIKE,
 # ... stacks ...
 PARENT, DEPTH, TAG, BITS, NODE_TABLE, PAIRS, PAIR_TABLE,
 # ... the vocabulary ...
 WHOLE, BODY, QUOTED, ESCAPED, REST, PLAIN, WITHIN, TWINS, STOPS, BYTES, STARTS,
 # ... masks of states, and what all constraints of a vocabulary share.
 ENTRIES, MASK_TABLE, SHAPES, ROWS, ROW_ENTRIES, ROW_TABLE, ROW_FACTS,
 INSIDE_ROWS, INSIDE_ENTRIES, INSIDE_TABLE, INSIDE_FACTS,
 FOUND, PATH, NEEDS, FACTS) = range(68)  # fmt: skip
PLACES = 68

# Places in FACTS.
(WHITE_SPACE, LONGEST, RESULTS, N_RESULT_IDS, N_WORDS, N_TWINS, N_STOPS,
 SCRATCH, N_NODES, NODE_BUCKETS, N_MASKS, MASK_ROOM, MASK_BUCKETS,
 N_PAIRS, PAIR_ROOM, PAIR_BUCKETS, SERIAL, N_NEEDS, BASE, LOWEST, READ, RECORDING,
 CLOSED_BY) = range(23)  # fmt: skip
FACTS_SIZE = CLOSED_BY + 3
N_KEPT, ROOM, BUCKETS, BEFORE = range(4)  # places in ROW_FACTS and INSIDE_FACTS

# Columns.
(F_READY, F_NULL, F_TRUE, F_FALSE, F_NUMBER, F_STRING, F_STRING_ID, F_STRING_RESULT,
 F_ARRAY, F_ARRAY_ID, F_OBJECT, F_OBJECT_ID, FAMILY_COLUMNS) = range(13)  # fmt: skip
S_LO, S_HI, S_RESULT, STRING_COLUMNS = range(4)
A_LO, A_HI, A_CAP, A_PREFIX, A_OFFSET, A_REST, A_RESULT, A_UNIQUE, ARRAY_COLUMNS = range(9)
O_TRIE, O_NAMES, O_OFFSET, O_OTHER, O_RESULT, OBJECT_COLUMNS = range(6)
T_POINT, T_SKIP, T_NAME, T_LO, T_HI, TRIE_COLUMNS = range(6)
NUMBER_COLUMNS, N_DONE = 16, 15
# Texts and keys with patterns, state by state; where STAYS is set, every character leads back.
X_OFFSET, X_END, X_RESULT, X_STAYS, TEXT_COLUMNS = range(5)
(K_OFFSET, K_END, K_NAME, K_LO, K_HI, K_LABEL, K_REACH, K_STAYS, K_BEGIN, K_COUNT,
 KEY_COLUMNS) = range(11)  # fmt: skip
# Objects of several shapes.
(G_KEYS, G_START, G_NAMES, G_OFFSET, G_OTHER, G_THREADS, G_THREADS_END,
 GROUP_COLUMNS) = range(8)  # fmt: skip
H_RESULT, THREAD_COLUMNS = SET_WORDS, SET_WORDS + 1
M_FAMILY, M_FIRST, MEMBER_COLUMNS = range(3)
X_BITS, X_GROUP, X_NEXT, NEXT_COLUMNS = range(4)
V_FIRST, V_COUNT, V_TOKEN, V_BYTE, NODE_COLUMNS = range(5)  # a trie of tokens
E_Q, E_C, E_SP, E_SHAPE, E_ROW, ENTRY_COLUMNS = range(6)
R_BASE, R_TOKENS, R_HASH, ROW_COLUMNS = range(4)
P_Q, P_C, P_SP, P_TOP, P_AT, P_END, P_FIRST = range(7)
PATH_COLUMNS = P_FIRST + 4

MISSING, RECORDED, FULL = -2, -3, -4  # what a call may answer instead
