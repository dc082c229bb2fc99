// 1 / n for n = S or 3 S, the part of 1 / (S D) that is no power of two: factor / 2^(16 + log), where 2^log is the power of
// two up to n.
module scale (
    input clk,
    input rst,
    input wanted,
    input [10:0] n,  // 1 to 1536, steady while wanted
    output ready,
    output [16:0] factor,
    output reg [3:0] log
);
    reg [10:0] known;  // 0 for none
    reg dividing;
    wire busy;
    wire [32:0] quotient;
    assign factor = quotient[16:0];
    assign ready = wanted & !dividing & known == n;
    wire start = wanted & !dividing & known != n;
    reg [3:0] log_of_n;
    integer i;
    always @* begin
        log_of_n = 0;
        for (i = 0; i < 11; i = i + 1) if (n[i]) log_of_n = i;
    end
    divide divide (
        .clk(clk), .rst(rst), .start(start), .exponent(6'd16 + log_of_n), .divisor(n), .busy(busy), .quotient(quotient)
    );
    always @(posedge clk) begin
        if (start) begin
            dividing <= 1;
            known <= n;
            log <= log_of_n;
        end else if (!busy) dividing <= 0;
        if (rst) {dividing, known} <= 0;
    end
endmodule
