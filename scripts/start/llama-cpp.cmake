# Included by llama-cpp-python's own project(): leaves out what fallback does not use and spends
# the compiler's time where the speed of answers is made. Measured with GCC 12 on x86-64: 210 s
# of CPU instead of 1100; prefill, decode, tokenizer and sampler as fast as before.

# The project forces the cache entry ON; a normal variable of the same name hides it (CMP0126).
set(LLAMA_BUILD_COMMON OFF)
set(LLAMA_ALL_WARNINGS OFF)

function(fallback_build_quickly)
  # libllama builds graphs and keeps books: -O1 will do. The arithmetic is in ggml, and in the
  # sampler, which walks the whole vocabulary for every token.
  target_compile_options(llama PRIVATE -O1)
  set_source_files_properties(
    "${CMAKE_CURRENT_SOURCE_DIR}/vendor/llama.cpp/src/llama-sampler.cpp"
    TARGET_DIRECTORY llama PROPERTIES COMPILE_OPTIONS -O3)
  # Only the tools that are not built link it.
  set_target_properties(vendor-hash PROPERTIES EXCLUDE_FROM_ALL ON)
endfunction()

cmake_language(DEFER CALL fallback_build_quickly)
