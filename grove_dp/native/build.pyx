"""What this build is: the compiler, its flags, and the CPU features the core may use at run time."""

cdef extern from "gdp_build_facts.h":
    """
    #if defined(__clang__)
    #  define GDP_BUILD_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #  define GDP_BUILD_COMPILER "gcc " __VERSION__
    #else
    #  define GDP_BUILD_COMPILER "unknown"
    #endif

    #if defined(__x86_64__)
    #  define GDP_HAS(name) (__builtin_cpu_supports(#name) ? #name " " : "")
    static void gdp_build_cpu(const char *out[8]) {
        __builtin_cpu_init();
        out[0] = GDP_HAS(sse4.2);
        out[1] = GDP_HAS(popcnt);
        out[2] = GDP_HAS(avx);
        out[3] = GDP_HAS(avx2);
        out[4] = GDP_HAS(bmi2);
        out[5] = GDP_HAS(pclmul);
        out[6] = GDP_HAS(avx512bw);
        out[7] = GDP_HAS(avx512vbmi);
    }
    #else
    static void gdp_build_cpu(const char *out[8]) {
        for (int i = 0; i < 8; i++) out[i] = "";
    #  if defined(__aarch64__)
        out[0] = "neon"; /* part of the aarch64 baseline */
    #  endif
    }
    #endif
    """
    const char *GDP_BUILD_FLAGS
    const char *GDP_BUILD_COMMIT
    const char *GDP_BUILD_COMPILER
    int GDP_BUILD_DEBUG
    const char *GDP_BUILD_CYTHON
    void gdp_build_cpu(const char **out)


def facts():
    """The compiler, its flags for the C core, the commit ("" if unknown) and whether assertions are on."""
    return {
        "compiler": GDP_BUILD_COMPILER.decode(),
        "cython": GDP_BUILD_CYTHON.decode(),
        "flags": GDP_BUILD_FLAGS.decode(),
        "commit": GDP_BUILD_COMMIT.decode(),
        "debug": bool(GDP_BUILD_DEBUG),
    }


def cpu_features():
    """Features of the CPU this process runs on, as the C core sees them, in a fixed order."""
    cdef const char *names[8]
    gdp_build_cpu(names)
    return [word for word in (name.decode().strip() for name in names) if word]
