# Included by llama.cpp's own project(). The server, its common library, the sampler, the grammars
# and all arithmetic are compiled as llama.cpp's Release build does. Only the builders of the
# compute graphs, one file for each of its 150 architectures, are compiled as ours are
# (scripts/start/llama-cpp.cmake), for they take most of the compiler's time and none at run time.
function(fallback_graphs_quickly)
  file(GLOB graphs "${CMAKE_CURRENT_SOURCE_DIR}/src/models/*.cpp")
  set_source_files_properties(
    ${graphs} TARGET_DIRECTORY llama PROPERTIES COMPILE_OPTIONS -O1)
endfunction()

cmake_language(DEFER CALL fallback_graphs_quickly)
