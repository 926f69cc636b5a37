// a -> a * 1 + 1 on vec4, 8 operations; the step is in madd.wgsl, the loop in chains.wgsl
alias elem = f32;
alias Unit = vec4<elem>;
